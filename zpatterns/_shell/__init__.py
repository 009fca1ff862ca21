"""What both worlds share: handlers and their binding, calls, statistics, guards against misuse."""
