from datetime import timedelta

import pytest

from anonauth.settings import Settings, SettingsError

GOOD = {
    "AWS_REGION": "eu-central-1",
    "TABLE_NAME": "t",
    "KMS_KEY_ID": "k",
    "APP_IDS": "myapp-abcde,other-fghij",
}

HASH = "a" * 64


def test_given_the_least_when_read_then_the_defaults_are_the_templates() -> None:
    settings = Settings.from_environment(GOOD)

    assert settings.app_ids == {"myapp-abcde", "other-fghij"}
    assert settings.access_token_lifetime.total_seconds() == 1800
    assert (settings.base_url, settings.endpoint_url) == ("", "")
    assert settings.session_limits.idle == timedelta(days=60)
    assert settings.session_limits.total == timedelta(days=1825)
    assert settings.settings_parameter == ""
    assert settings.allow_private_issuers is False
    assert settings.event_bus == "default"
    assert settings.expiry_notice_days == frozenset()
    assert settings.logins_per_network == 0
    assert settings.provider_failures_per_network == 0
    assert settings.mails_per_network == 0
    assert settings.anonymous_challenge is False
    assert settings.client_address_header == ""
    assert settings.allowed_origins is None
    assert settings.origin_secret_hashes == ()
    assert settings.metrics is False


def test_given_what_the_template_sets_when_read_then_it_is_on() -> None:
    settings = Settings.from_environment(
        {
            **GOOD,
            "LOGINS_PER_NETWORK": "2000",
            "PROVIDER_FAILURES_PER_NETWORK": "60",
            "MAILS_PER_NETWORK": "100",
            "ANONYMOUS_CHALLENGE": "true",
            "CLIENT_ADDRESS_HEADER": "CloudFront-Viewer-Address",
            "METRICS": "true",
            "POWERTOOLS_SERVICE_NAME": "my-stack",
        }
    )

    assert settings.logins_per_network == 2000
    assert settings.provider_failures_per_network == 60
    assert settings.mails_per_network == 100
    assert settings.anonymous_challenge is True
    assert settings.client_address_header == "cloudfront-viewer-address"
    assert (settings.metrics, settings.stack_name) == (True, "my-stack")


def test_given_notices_when_read_then_they_are_days() -> None:
    settings = Settings.from_environment({**GOOD, "EXPIRY_NOTICE_DAYS": "14, 3,14"})

    assert settings.expiry_notice_days == {14, 3}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("AWS_REGION", "", id="no region"),
        pytest.param("TABLE_NAME", " ", id="blank table"),
        pytest.param("KMS_KEY_ID", "", id="no key"),
        pytest.param("APP_IDS", "", id="no app"),
        pytest.param("APP_IDS", "a,,b", id="empty app"),
        pytest.param("APP_IDS", "a/b", id="slash in app"),
        pytest.param("APP_IDS", "a" * 65, id="long app"),
        pytest.param("ACCESS_TOKEN_MINUTES", "4", id="too short"),
        pytest.param("ACCESS_TOKEN_MINUTES", "61", id="too long"),
        pytest.param("ACCESS_TOKEN_MINUTES", "-5", id="negative"),
        pytest.param(
            "ACCESS_TOKEN_MINUTES", "\u0661\u0665", id="digits of another script"
        ),
        pytest.param("BASE_URL", "https://a.example/", id="trailing slash"),
        pytest.param("BASE_URL", "https://a.example/prod", id="path"),
        pytest.param("BASE_URL", "a.example", id="no scheme"),
        pytest.param("ORIGIN_SECRET_HASHES", "a" * 63, id="hash too short"),
        pytest.param("ORIGIN_SECRET_HASHES", "a" * 65, id="hash too long"),
        pytest.param("ORIGIN_SECRET_HASHES", "A" * 64, id="hash in capitals"),
        pytest.param("ORIGIN_SECRET_HASHES", f"{HASH},", id="comma at the end"),
        pytest.param("ORIGIN_SECRET_HASHES", f"{HASH}, {HASH}", id="space in hashes"),
        pytest.param("ORIGIN_SECRET_HASHES", ",".join([HASH] * 3), id="three hashes"),
        pytest.param("LOGINS_PER_NETWORK", "-1", id="fewer logins than none"),
        pytest.param("LOGINS_PER_NETWORK", "1e3", id="logins as a float"),
        pytest.param("LOGINS_PER_NETWORK", "", id="no number of logins"),
        pytest.param("LOGINS_PER_NETWORK", "\u0661", id="logins of another script"),
        pytest.param("LOGINS_PER_NETWORK", "10000000", id="too many logins"),
        pytest.param("PROVIDER_FAILURES_PER_NETWORK", "-1", id="fewer than none"),
        pytest.param("PROVIDER_FAILURES_PER_NETWORK", "", id="no number of failures"),
        pytest.param("MAILS_PER_NETWORK", "-1", id="fewer mails than none"),
        pytest.param("MAILS_PER_NETWORK", "", id="no number of mails"),
        pytest.param("ANONYMOUS_CHALLENGE", "yes", id="challenge yes"),
        pytest.param("METRICS", "on", id="metrics on"),
        pytest.param("ANONYMOUS_CHALLENGE", "True", id="challenge True"),
        pytest.param("ANONYMOUS_CHALLENGE", "", id="challenge empty"),
        pytest.param("CLIENT_ADDRESS_HEADER", "a b", id="no header"),
        pytest.param("CLIENT_ADDRESS_HEADER", "x:", id="header with a colon"),
        pytest.param("CLIENT_ADDRESS_HEADER", "x" * 65, id="long header"),
        pytest.param("CLIENT_ADDRESS_HEADER", "X-Forwarded-For", id="a list"),
        pytest.param("CLIENT_ADDRESS_HEADER", "forwarded", id="another list"),
        pytest.param("SESSION_IDLE_DAYS", "0", id="idle for 0 days"),
        pytest.param("SESSION_IDLE_DAYS", "1826", id="idle for more than 5 years"),
        pytest.param("SESSION_IDLE_DAYS", "7.5", id="half a day"),
        pytest.param("SESSION_IDLE_DAYS", "\u0661", id="days of another script"),
        pytest.param("SESSION_MAX_DAYS", "0", id="0 days in all"),
        pytest.param("SESSION_MAX_DAYS", "1826", id="more than 5 years in all"),
        pytest.param("SESSION_MAX_DAYS", "", id="no days in all"),
        pytest.param("SETTINGS_PARAMETER", "settings", id="no slash"),
        pytest.param("SETTINGS_PARAMETER", "/a/", id="slash at the end"),
        pytest.param("SETTINGS_PARAMETER", "/a//b", id="empty level"),
        pytest.param("SETTINGS_PARAMETER", "/a" * 15, id="no level for secrets"),
        pytest.param("ALLOW_PRIVATE_ISSUERS", "True", id="capital letter"),
        pytest.param("ALLOW_PRIVATE_ISSUERS", "", id="neither true nor false"),
        pytest.param("EXPIRY_NOTICE_DAYS", "0", id="notice on no day"),
        pytest.param("EXPIRY_NOTICE_DAYS", "90", id="notice longer than life"),
        pytest.param("EXPIRY_NOTICE_DAYS", "14,", id="empty notice"),
        pytest.param("EXPIRY_NOTICE_DAYS", "14;3", id="notices not by commas"),
        pytest.param("EXPIRY_NOTICE_DAYS", "-3", id="notice afterwards"),
    ],
)
def test_given_a_bad_setting_when_read_then_the_error_names_it(
    name: str, value: str
) -> None:
    with pytest.raises(SettingsError) as error:
        Settings.from_environment(GOOD | {name: value})

    assert str(error.value).startswith(f"{name}: ")


@pytest.mark.parametrize("hashes", [(HASH,), (HASH, "0123456789abcdef" * 4)])
def test_given_hashes_of_secrets_when_read_then_one_or_two_hold(
    hashes: tuple[str, ...],
) -> None:
    settings = Settings.from_environment(
        GOOD | {"ORIGIN_SECRET_HASHES": ",".join(hashes)}
    )

    assert settings.origin_secret_hashes == hashes


def test_given_a_secret_in_place_of_its_hash_when_read_then_the_error_hides_it() -> (
    None
):
    secret = "correct-horse-battery-staple"

    with pytest.raises(SettingsError) as error:
        Settings.from_environment(GOOD | {"ORIGIN_SECRET_HASHES": secret})

    assert secret not in str(error.value)


@pytest.mark.parametrize("minutes", ["5", "60"])
def test_given_minutes_at_the_edge_when_read_then_they_hold(minutes: str) -> None:
    settings = Settings.from_environment(GOOD | {"ACCESS_TOKEN_MINUTES": minutes})

    assert settings.access_token_lifetime.total_seconds() == 60 * int(minutes)


@pytest.mark.parametrize("days", ["1", "1825"])
def test_given_days_at_the_edge_when_read_then_they_hold(days: str) -> None:
    settings = Settings.from_environment(
        GOOD | {"SESSION_IDLE_DAYS": days, "SESSION_MAX_DAYS": days}
    )

    limits = settings.session_limits
    assert limits.idle == limits.total == timedelta(days=int(days))


@pytest.mark.parametrize("name", ["", "/a", "/anonauth/prod.1/settings_2", "/a" * 14])
def test_given_the_name_of_a_parameter_when_read_then_it_holds(name: str) -> None:
    settings = Settings.from_environment(GOOD | {"SETTINGS_PARAMETER": name})

    assert settings.settings_parameter == name


def test_given_the_local_stack_when_read_then_private_issuers_are_allowed() -> None:
    settings = Settings.from_environment(GOOD | {"ALLOW_PRIVATE_ISSUERS": "true"})

    assert settings.allow_private_issuers is True


@pytest.mark.parametrize("text", ["example.com", "https://a.example/", "*,https://a.b"])
def test_given_an_origin_that_is_none_when_read_then_the_function_does_not_start(
    text: str,
) -> None:
    with pytest.raises(SettingsError, match="ALLOWED_ORIGINS"):
        Settings.from_environment({**GOOD, "ALLOWED_ORIGINS": text})
