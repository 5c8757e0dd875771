-- A row of `standing` is a row of the current table of one of the units; a unit is contested if it has
-- such a row, or if it was found gone.
CREATE OR REPLACE TEMP TABLE standing AS
SELECT current.rowid AS place, current.{{unit}} AS key
FROM {{current}} AS current
SEMI JOIN temp.main.touched AS touched ON touched.key = current.{{unit}};

CREATE OR REPLACE TEMP TABLE contested AS
SELECT DISTINCT key FROM temp.main.standing
UNION
SELECT gone.key
FROM warehouse.meta.tombstones AS gone
SEMI JOIN temp.main.touched AS touched ON touched.key = gone.key
WHERE gone.object = {{object}}
UNION
-- a document that has no lines is not seen in the current table
SELECT read.{{unit_of_versions}} AS key
FROM {{versions}} AS read
SEMI JOIN temp.main.touched AS touched ON touched.key = read.{{unit_of_versions}}
WHERE {{is_line}} AND read._load_id <> {{load}}
