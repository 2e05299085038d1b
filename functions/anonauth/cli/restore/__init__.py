"""`anonauth restore`: bring users back from a backup."""
