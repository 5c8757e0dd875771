-- A row of `touched` is a unit that the load brought. It is contested if a version of it counts
-- already, or if it was found gone. A document that has no lines is not seen in the current table:
-- it is contested if another load covered it.
CREATE OR REPLACE TEMP TABLE touched AS
SELECT DISTINCT {{unit_of_versions}} AS key
FROM {{versions}}
WHERE _load_id = {{load}};

CREATE OR REPLACE TEMP TABLE contested AS
SELECT DISTINCT current.{{unit}} AS key
FROM {{current}} AS current
SEMI JOIN temp.main.touched AS touched ON touched.key = current.{{unit}}
UNION
SELECT gone.key
FROM warehouse.meta.tombstones AS gone
LEFT JOIN temp.main.touched AS touched ON touched.key = gone.key
WHERE gone.object = {{object}} AND (touched.key IS NOT NULL OR gone.load_id = {{load}})
UNION
SELECT read.{{unit_of_versions}} AS key
FROM {{versions}} AS read
SEMI JOIN temp.main.touched AS touched ON touched.key = read.{{unit_of_versions}}
WHERE {{is_line}} AND read._load_id <> {{load}}
