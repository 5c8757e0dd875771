-- A row is a partition: the control totals of the journal entries that changed in it.
SELECT
    partitions.entity AS _entity,
    partitions.day AS _day,
    count(entries.key) FILTER (WHERE NOT entries.is_missing) AS entries,
    CAST(coalesce(sum(entries.lines), 0) AS BIGINT) AS lines,
    CAST(coalesce(sum(entries.debit), 0) AS DECIMAL(38, 10)) AS debit,
    CAST(coalesce(sum(entries.credit), 0) AS DECIMAL(38, 10)) AS credit,
    count(*) FILTER (WHERE NOT entries.is_missing AND entries.debit <> entries.credit) AS unbalanced,
    count(*) FILTER (WHERE entries.is_missing) AS without_entry,
    count(*) FILTER (WHERE NOT entries.is_missing AND entries.lines = 0) AS without_lines,
    count(DISTINCT (dates.books, dates.posting_date)) FILTER (WHERE dates.net <> 0) AS dates_off
FROM memory.main.partitions AS partitions
LEFT JOIN memory.main.entries AS entries
    ON entries.entity = partitions.entity AND entries.day = partitions.day
LEFT JOIN memory.main.dates AS dates
    ON dates.books = entries.books AND dates.posting_date = entries.posting_date
GROUP BY partitions.entity, partitions.day
