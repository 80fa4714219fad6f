"""The exact integer arithmetic: numpy primitives, the protocol engines implement, reference interpreters."""
