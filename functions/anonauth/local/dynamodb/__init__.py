"""DynamoDB on this machine: a faster moto, or another engine at its own address."""
