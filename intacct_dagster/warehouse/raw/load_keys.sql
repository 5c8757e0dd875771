-- A row is a count: the distinct keys in a part of what was loaded. Keys are compared by a hash of 64
-- bits, and part by part, so that the memory this takes depends on neither their text nor their
-- number; two keys of one hash would refuse the load, not corrupt it. (One thread alone would count
-- DISTINCT; several group.)
SELECT count(*)
FROM (
    SELECT hash({{key}}) AS hashed
    FROM {{raw}}
    WHERE _load_id = {{load}}
        AND hash({{key}}) % {{parts}} = {{part}}
    GROUP BY hashed
)
