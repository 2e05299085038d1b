"""The Lambda functions, one per module. API Gateway or AWS calls `handler`."""

from anonauth.handlers import _cold_start as _cold_start  # before any other import
