-- A row is a document none of whose occurrences may be posted, by its source id, and why.
CREATE TABLE memory.main.sources AS
WITH files AS (
    SELECT DISTINCT _file_order, _file
    FROM memory.main.lines
),

differing AS (
    -- a row is an id that different documents carry
    SELECT source_id
    FROM memory.main.occurrences
    GROUP BY source_id
    HAVING min(lines) <> max(lines)
        OR min(content) <> max(content)
        OR min(content_again) <> max(content_again)
),

unassigned AS (
    -- a row is a file with a line in quarantine that may be of any document of the file
    SELECT
        _file,
        concat(
            'line ', min(_line), ' of ', _file, ' is in quarantine and may belong to any document of',
            ' the file; give the feed `control_totals`, and documents that add up are safe from that'
        ) AS reason
    FROM memory.main.checked
    WHERE _kind IS NOT NULL AND NOT _certain AND NOT {{cannot_be_cut}}
    GROUP BY _file
),

unread AS (
    -- the one row is the first file of which nothing could be read
    SELECT
        concat(
            arg_min(_file, _file_order),
            ' could not be read, and documents may continue in it; give the feed `control_totals`, and',
            ' documents that add up are safe from that'
        ) AS reason
    FROM memory.main.checked
    WHERE _kind = 'file' AND {{spans_files}} AND NOT {{cannot_be_cut}}
    HAVING count(*) > 0
),

flaws AS (
    -- a row is a flaw of a document; of several the first in this order is reported
    SELECT
        1 AS place,
        _source_id AS source_id,
        arg_min(concat('line ', _line, ' of ', _file, ' is in quarantine: ', _reason), (_file_order, _line))
            AS reason
    FROM memory.main.checked
    WHERE _kind IS NOT NULL AND _source_id IS NOT NULL
    GROUP BY _source_id
    UNION ALL
    SELECT
        2,
        source_id,
        concat(
            'different documents carry this id: ',
            string_agg(concat(files._file, ':', began & ((1::BIGINT << 40) - 1)), ', ' ORDER BY began)
        )
    FROM memory.main.occurrences
    SEMI JOIN differing USING (source_id)
    INNER JOIN files ON files._file_order = began >> 40
    GROUP BY source_id
    UNION ALL
    SELECT 3, source_id, concat('its lines differ in ', conflicts)
    FROM memory.main.occurrences
    WHERE conflicts IS NOT NULL
    UNION ALL
    SELECT 4, source_id, totals
    FROM memory.main.occurrences
    WHERE totals IS NOT NULL
    UNION ALL
    SELECT DISTINCT 5, {{source_id}}, unassigned.reason
    FROM memory.main.lines
    INNER JOIN unassigned USING (_file)
    UNION ALL
    SELECT DISTINCT 6, {{source_id}}, unread.reason
    FROM memory.main.lines
    CROSS JOIN unread
)

-- a document in quarantine as a whole has no line that could be posted
SELECT source_id, arg_min(reason, (place, reason)) AS invalid
FROM flaws
SEMI JOIN memory.main.occurrences USING (source_id)
GROUP BY source_id
