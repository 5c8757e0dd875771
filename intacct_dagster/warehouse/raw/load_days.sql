-- A row is a day of change of what was just loaded, and its rows.
SELECT _day, count(*)
FROM {{raw}}
WHERE _load_id = {{load}}
GROUP BY _day
