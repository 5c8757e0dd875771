-- A row is a day of the partitions that were just loaded, and its rows.
SELECT _day, count(*)
FROM {{raw}}
WHERE _entity = $entity AND _day IN (SELECT unnest($days::DATE[]))
GROUP BY _day
