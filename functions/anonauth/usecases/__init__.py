"""The use cases: what the service does, without HTTP and AWS.

A use case is a frozen dataclass of ports and rules, with a method per call. Request
data and `now` are arguments of the method.
"""
