"""`/services/core/view` and `/objects/core/system-view`: kept queries."""
