"""The messages on the wire, generated from the `.proto` files beside by `make proto`."""
