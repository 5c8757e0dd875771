-- A row is a document that held still while its lines were read: with its change time, as it was
-- read before (where that was asked) and after. One that changed meanwhile has left the window, and
-- its lines belong to a later day.
CREATE TABLE memory.main.parents AS
SELECT after.key, after.changed
FROM (
    SELECT key, max("{{changed}}") AS changed FROM {{after}} GROUP BY ALL
) AS after
SEMI JOIN (
    SELECT key, max("{{changed}}") AS changed FROM {{before}} GROUP BY ALL
) AS before
    ON before.key = after.key AND before.changed IS NOT DISTINCT FROM after.changed
