"""The local stack: embedded servers, and the supervisor that keeps the processes alive."""
