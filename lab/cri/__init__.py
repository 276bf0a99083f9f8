"""Messages to make pods with; `make_pb2` is generated from `make.proto` by `make proto`."""
