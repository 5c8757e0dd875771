"""The XML gateway, as far as the general ledger goes."""
