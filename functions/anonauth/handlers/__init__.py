"""The functions: one Lambda per module. API Gateway or AWS calls its `handler`."""

from anonauth.handlers import _cold_start as _cold_start  # before any other import
