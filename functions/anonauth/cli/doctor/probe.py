"""The deployment that `anonauth doctor` looks at."""

import functools
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from anonauth import wiring
from anonauth.cli.deployment import Deployment
from anonauth.cli.stats.counts import DayRange, count_users
from anonauth.domain.signing_keys import Ring
from anonauth.domain.users import UserPage
from anonauth.provider_settings.ssm import SettingsSource

JWKS_LIMIT = timedelta(seconds=1.5)
"""Limit for the key set. An API Gateway authorizer waits no longer (design.md §3)."""

MOST_ITEMS = 20_000
"""A table with more items is not scanned."""

MOST_UNITS = 5_000
"""Read units after which a scan stops: a third of a cent at most."""


class DeploymentProbe:
    """The deployment that is checked. Answers that several checks need are cached.

    Args:
        deployment: Stack or table, region and endpoint.
        clock: Time by which keys are judged. By default the clock of the services.
        jwks_limit: Longest time for the key set.
        patience: Longest time for any answer over HTTP.
        most_items: Number of items in the largest table that is scanned.
        most_units: Read units that a scan may take.
        origin_secret: Secret that the CDN in front of the API sends. Empty: not known.
    """

    def __init__(
        self,
        deployment: Deployment,
        *,
        clock: Callable[[], datetime] | None = None,
        jwks_limit: timedelta = JWKS_LIMIT,
        patience: timedelta = timedelta(seconds=10),
        most_items: int = MOST_ITEMS,
        most_units: float = MOST_UNITS,
        origin_secret: str = "",
    ) -> None:
        self.deployment = deployment
        self.stack_name = deployment.stack_name
        self.jwks_limit = jwks_limit
        self.patience = patience
        self.most_items = most_items
        self.most_units = most_units
        self.origin_secret = origin_secret
        self._services = deployment.services()
        self.clock = clock or self._services.clock
        self._clients: dict[str, Any] = {}

    def connect(self, service: str) -> Any:
        """Return the cached client of an AWS service. Creating one is slow."""
        if service not in self._clients:
            self._clients[service] = self.deployment.connect(service)
        return self._clients[service]

    @property
    def services(self) -> wiring.Services:
        """The deployment's services, with the operator's credentials."""
        return self._services

    @property
    def table_name(self) -> str:
        """The table's name."""
        return self.deployment.table

    @functools.cached_property
    def stack(self) -> Mapping[str, Any]:
        """The stack, as DescribeStacks returns it."""
        found = self.connect("cloudformation").describe_stacks(
            StackName=self.stack_name
        )
        stack: Mapping[str, Any] = found["Stacks"][0]
        return stack

    def parameter(self, name: str) -> str:
        """Return the value of a parameter of the stack, or "" if it has none."""
        for parameter in self.stack.get("Parameters", []):
            if parameter["ParameterKey"] == name:
                return str(parameter["ParameterValue"])
        return ""

    def resources(self, kind: str) -> dict[str, str]:
        """Return logical and physical ids of the stack's resources of one type."""
        return {
            each["LogicalResourceId"]: each["PhysicalResourceId"]
            for each in self._resources
            if each["ResourceType"] == kind and each.get("PhysicalResourceId")
        }

    @functools.cached_property
    def _resources(self) -> list[Any]:
        pages = self.connect("cloudformation").get_paginator("list_stack_resources")
        return [
            each
            for page in pages.paginate(StackName=self.stack_name)
            for each in page["StackResourceSummaries"]
        ]

    @functools.cached_property
    def table(self) -> Mapping[str, Any]:
        """The table, as DescribeTable returns it."""
        found = self.connect("dynamodb").describe_table(TableName=self.table_name)
        table: Mapping[str, Any] = found["Table"]
        return table

    @functools.cached_property
    def ring(self) -> Ring | None:
        """The key ring, or None if there is none."""
        return self._services.store.load_ring()

    def count_orphans(self, on_page: Callable[[UserPage], object]) -> int:
        """Return how many identities have no user, by a scan of the table.

        Args:
            on_page: Called with each page. An exception that it raises ends the scan.
        """
        today = DayRange.until(self._services.clock(), 1)
        return count_users(self._services, today, segments=1, on_page=on_page).orphans

    def settings(self, parameter: str) -> SettingsSource:
        """Return the source of the provider settings in SSM."""
        # Only a local service may fetch the keys of issuers at private addresses.
        is_local = self.deployment.endpoint_url is not None
        return SettingsSource(
            lambda: self.connect("ssm"), parameter, allow_private=is_local
        )
