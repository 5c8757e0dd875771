-- A row is the latest version of a record: a record that changed on several days, or that several
-- entities share, is in the raw table once for each, and here once.
CREATE OR REPLACE VIEW warehouse.intacct.{{table}} AS
SELECT *
FROM raw.{{table}}
QUALIFY
    row_number() OVER (
        PARTITION BY {{key}}
        ORDER BY {{changed}} DESC NULLS LAST, _extracted_at DESC, _day DESC, _entity
    ) = 1
