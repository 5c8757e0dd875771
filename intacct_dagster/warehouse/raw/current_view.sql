-- A row is the latest version of a record that Intacct still has: a record that changed on several
-- days, or that several entities share, is in the raw table once for each, and here once.
CREATE OR REPLACE VIEW warehouse.intacct.{{table}} AS
SELECT *
FROM raw.{{table}} AS read
WHERE
    -- what was read again after it was found to be gone is there again
    NOT EXISTS (
        SELECT 1
        FROM meta.tombstones AS gone
        WHERE
            gone.object = {{object}}
            AND gone.entity = read._entity
            AND gone.key = read.{{key}}
            AND gone.revived_at IS NULL
            AND gone.found_at > read._extracted_at
    )
    AND {{latest}}
QUALIFY
    row_number() OVER (
        PARTITION BY {{key}}
        ORDER BY {{changed}} DESC NULLS LAST, _extracted_at DESC, _day DESC, _entity
    ) = 1
