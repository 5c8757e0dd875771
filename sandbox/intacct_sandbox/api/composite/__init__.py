"""`/services/core/composite`: several requests in one."""
