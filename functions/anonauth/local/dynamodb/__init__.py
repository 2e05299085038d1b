"""DynamoDB on this machine: moto made fast, or an engine at another address."""
