from support.service.fixtures import answering, server

__all__ = ["answering", "server"]
