import pytest

from anonauth.settings import Settings, SettingsError

GOOD = {
    "AWS_REGION": "eu-central-1",
    "TABLE_NAME": "t",
    "KMS_KEY_ID": "k",
    "APP_IDS": "myapp-abcde,other-fghij",
}


def test_given_the_least_when_read_then_the_defaults_are_the_templates() -> None:
    settings = Settings.from_environment(GOOD)

    assert settings.app_ids == {"myapp-abcde", "other-fghij"}
    assert settings.access_token_lifetime.total_seconds() == 1800
    assert (settings.base_url, settings.endpoint_url) == ("", "")


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
    ],
)
def test_given_a_bad_setting_when_read_then_the_error_names_it(
    name: str, value: str
) -> None:
    with pytest.raises(SettingsError) as error:
        Settings.from_environment(GOOD | {name: value})

    assert str(error.value).startswith(f"{name}: ")


@pytest.mark.parametrize("minutes", ["5", "60"])
def test_given_minutes_at_the_edge_when_read_then_they_hold(minutes: str) -> None:
    settings = Settings.from_environment(GOOD | {"ACCESS_TOKEN_MINUTES": minutes})

    assert settings.access_token_lifetime.total_seconds() == 60 * int(minutes)
