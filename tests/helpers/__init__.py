"""What several test files need: raw HTTP over sockets, and a gateway as its user starts it."""
