-- A row is a record of this reading that is new to its entity, or differs from what it had read.
INSERT INTO {{raw}} BY NAME
SELECT fresh.*
FROM temp.main.fresh AS fresh
WHERE NOT EXISTS (
    SELECT 1
    FROM temp.main.known AS known
    WHERE known.{{key}} = fresh.{{key}} AND {{alike}}
)
