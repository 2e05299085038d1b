"""Figures for CloudWatch, as lines of the log: no call, and no waiting for one.

In the embedded metric format (EMF), which CloudWatch Logs turns into metrics.
"""

from aws_lambda_powertools.metrics import MetricUnit, single_metric

from anonauth.domain.events import MetricName

NAMESPACE = "anonauth"
"""Of all metrics. Each has the dimension `service`, the stack's name."""


class Metrics:
    """Counts of one execution environment.

    Args:
        service: Name of the stack.
        on: Whether to write them at all.
    """

    def __init__(self, service: str, *, on: bool) -> None:
        self._service = service
        self._on = on
        self._started = False

    def start(self, function: str) -> None:
        """Count a cold start: the first call of an execution environment is one."""
        if not self._started:
            self._started = True
            self.count("ColdStarts", function=function)

    def count(self, name: MetricName, number: int = 1, **dimension: str) -> None:
        """Count what happened.

        Args:
            name: See `MetricName`.
            dimension: The one that belongs to the name; never what a client sent.
        """
        self._write(name, MetricUnit.Count, number, dimension)

    def gauge(self, name: MetricName, value: float) -> None:
        """Note a value as it is now."""
        self._write(name, MetricUnit.NoUnit, value, {})

    def _write(
        self, name: str, unit: MetricUnit, value: float, dimension: dict[str, str]
    ) -> None:
        if not self._on:
            return
        with single_metric(name, unit, value, namespace=NAMESPACE) as metric:
            metric.add_dimension("service", self._service)
            for key, text in dimension.items():
                metric.add_dimension(key, text)
