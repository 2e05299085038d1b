"""HTTP and schedule events in, answers out. One module per Lambda function."""
