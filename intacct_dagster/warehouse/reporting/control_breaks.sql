-- A row is what breaks the control totals of a partition, the oldest posting date first.
SELECT entity, day, kind, posting_date, entry, reference, difference
FROM (
    SELECT
        entity,
        day,
        CASE
            WHEN is_missing THEN 'without_entry'
            WHEN lines = 0 THEN 'without_lines'
            ELSE 'unbalanced'
        END AS kind,
        posting_date,
        key AS entry,
        reference_number AS reference,
        debit - credit AS difference
    FROM memory.main.entries
    WHERE is_missing OR lines = 0 OR debit <> credit
    UNION ALL
    SELECT DISTINCT
        entries.entity,
        entries.day,
        'dates_off' AS kind,
        dates.posting_date,
        NULL AS entry,
        NULL AS reference,
        dates.net AS difference
    FROM memory.main.dates AS dates
    INNER JOIN memory.main.entries AS entries
        ON entries.books = dates.books AND entries.posting_date = dates.posting_date
    WHERE dates.net <> 0
)
ORDER BY coalesce(posting_date, day), entity, kind, entry
