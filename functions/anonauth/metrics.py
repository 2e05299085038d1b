"""Metrics for CloudWatch, written as log lines: they need no call and no waiting.

The lines are in the embedded metric format (EMF). CloudWatch Logs turns them into
metrics.
"""

from aws_lambda_powertools.metrics import MetricUnit, single_metric

from anonauth.domain.events import MetricName

NAMESPACE = "anonauth"
"""Namespace of all metrics. Each has the dimension `service`, the stack's name."""


class Metrics:
    """Metrics of one execution environment.

    Args:
        service: Name of the stack.
        on: False writes nothing.
    """

    def __init__(self, service: str, *, on: bool) -> None:
        self._service = service
        self._on = on
        self._started = False

    def start(self, function: str) -> None:
        """Count a cold start: the first call in an execution environment."""
        if not self._started:
            self._started = True
            self.count("ColdStarts", function=function)

    def count(self, name: MetricName, number: int = 1, **dimension: str) -> None:
        """Write a count of something that happened.

        Args:
            name: See `MetricName`.
            dimension: The dimension that this metric has. Never a client's value.
        """
        self._write(name, MetricUnit.Count, number, dimension)

    def gauge(self, name: MetricName, value: float) -> None:
        """Write the present value of something."""
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
