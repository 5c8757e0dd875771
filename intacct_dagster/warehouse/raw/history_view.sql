-- A row is a version of a record that a reading saw, once, however often it was read. It held in
-- Intacct from `valid_from` (its change time) to before `valid_to`, and is what was known here from
-- `known_from` to before `known_to`. Null is: still. What came and went between two readings was
-- never seen.
-- The names of what is only of use here begin with an underscore, because no field's column does.
CREATE OR REPLACE VIEW {{view}} AS
WITH seen AS (
    SELECT
        *,
        {{changed}} AS _valid_from,
        hash({{content}}, {{changed}}) AS _content,
        max({{changed}}) OVER (
            PARTITION BY {{key}}
            ORDER BY _read_at, _load_id
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS _latest_before
    FROM {{raw}} AS read
    WHERE NOT EXISTS (
        SELECT 1
        FROM meta.loads AS withdrawn
        WHERE withdrawn.object = {{object}} AND withdrawn.load_id = read._load_id AND withdrawn.withdrawn_at IS NOT NULL
    )
),

-- a reading that shows what was before, or the same once more, tells nothing new
news AS (
    SELECT *
    FROM seen
    WHERE _valid_from IS NULL OR _latest_before IS NULL OR _valid_from >= _latest_before
    QUALIFY _content IS DISTINCT FROM lag(_content) OVER (PARTITION BY {{key}} ORDER BY _read_at, _load_id)
),

ends AS (
    SELECT
        *,
        {{next_valid}} AS _next_valid,
        {{next_known}} AS _next_known
    FROM news
    WINDOW by_time AS (PARTITION BY {{key}} ORDER BY _read_at, _load_id)
),

gone AS (
    SELECT found.key, max(found.found_at) AS found_at
    FROM meta.tombstones AS found
    ANTI JOIN intacct.{{current}} AS current ON current.{{key}} = found.key
    WHERE found.object = {{object}} AND found.revived_at IS NULL
    GROUP BY found.key
)

SELECT
    {{named}},
    ends._entity,
    ends._load_id,
    coalesce(ends._valid_from, ends._read_at) AS valid_from,
    coalesce(ends._next_valid, gone.found_at) AS valid_to,
    ends._read_at AS known_from,
    coalesce(ends._next_known, gone.found_at) AS known_to
FROM ends
LEFT JOIN gone ON gone.key = ends.{{key}} AND gone.found_at > ends._read_at
