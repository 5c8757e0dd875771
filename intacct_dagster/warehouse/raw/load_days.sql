-- A row is a day of the partitions that were just loaded, and its rows.
SELECT _day, count(*)
FROM {{raw}}
WHERE {{partitions}}
GROUP BY _day
