"""`/oauth2/…`: tokens and consent."""
