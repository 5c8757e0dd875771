-- A row is a row of an older version of this package, which becomes a version of a load.
UPDATE {{raw}} AS read
SET _load_id = adopted.load_id, _read_at = read._extracted_at
FROM (
    SELECT _entity, -row_number() OVER (ORDER BY _entity) AS load_id
    FROM {{raw}}
    GROUP BY _entity
) AS adopted
WHERE adopted._entity = read._entity
