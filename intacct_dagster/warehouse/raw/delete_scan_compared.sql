-- A row is a key that the scan or we have, and how the two compare. A record is lacking only if we
-- want it: if it changed late enough, or is a line of a document that we have lines of.
SELECT
    coalesce(known.key, scanned.key) AS key,
    CASE
        WHEN scanned.key IS NULL THEN 'missing'
        WHEN known.key IS NULL
            THEN CASE
                WHEN $wanted_since::TIMESTAMPTZ IS NULL THEN 'lacking'
                WHEN scanned.changed >= $wanted_since::TIMESTAMPTZ THEN 'lacking'
                WHEN {{is_line}} AND covered.key IS NOT NULL THEN 'lacking'
                WHEN NOT {{is_line}} AND scanned.changed IS NULL THEN 'lacking'
                ELSE 'not wanted'
            END
        WHEN scanned.changed < known.changed THEN 'went_back'
        WHEN scanned.changed > known.changed THEN 'later'
        ELSE 'same'
    END AS what
FROM memory.main.known AS known
FULL JOIN memory.main.scanned AS scanned ON scanned.key = known.key
LEFT JOIN {{covered}} AS covered ON covered.key = scanned.unit
WHERE
    scanned.key IS NOT NULL
    OR $since::TIMESTAMPTZ IS NULL
    OR known.changed >= $since::TIMESTAMPTZ
ORDER BY key
