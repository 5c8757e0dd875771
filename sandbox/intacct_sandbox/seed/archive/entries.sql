-- The entries of some days. In every nine entries each number of debits and credits from one to
-- three meets each other once, which makes 36 lines; the last entry of all takes what is left over.
INSERT INTO scratch.entry
WITH numbered AS (
    SELECT
        day, period, last - first + 1 AS on_the_day,
        unnest(range(first, last + 1)) AS key, unnest(range(0, last - first + 1)) AS since_morning
    FROM days
    WHERE day BETWEEN $first_day AND $last_day
),
drawn AS (
    SELECT
        *,
        chance('entry', key) AS a,
        chance('amount', key) AS b,
        chance('change', key) AS c,
        chance('shape', (key - 1) // 9) AS d
    FROM numbered
),
shaped AS (
    SELECT
        *,
        (((key - 1) % 9) * [1, 2, 4, 5, 7, 8][1 + (d % 6)::BIGINT] + ((d // 6) % 9)::BIGINT) % 9
            AS shape,
        key > $whole_entries AS is_rest
    FROM drawn
),
counted AS (
    SELECT
        *,
        CASE WHEN is_rest THEN $rest_lines // 2 ELSE shape // 3 + 1 END AS debits,
        CASE WHEN is_rest THEN $rest_lines - $rest_lines // 2 ELSE shape % 3 + 1 END AS credits
    FROM shaped
),
placed AS (
    SELECT
        counted.*, houses.*,
        ((a // 1000) % 8)::INTEGER AS pattern,
        CASE WHEN b % 10 = 0 THEN houses.abroad ELSE houses.currency END AS txn_currency,
        day + INTERVAL 7 HOUR
            + to_seconds((since_morning * $working_seconds) // on_the_day) AS made
    FROM counted
    JOIN seats ON seats.seat = (a % $seats)::BIGINT
    JOIN houses ON houses.entity = seats.entity
)
SELECT
    key,
    $lines_before + 1 + sum(debits + credits) OVER (ORDER BY key) - debits - credits,
    debits, credits,
    10000 + ((b // 10) % 2490000)::BIGINT AS cents,
    entity, pattern, day, period,
    any_of(places, a // 100000),
    any_of(
        CASE patterns.party WHEN 'customer' THEN customers WHEN 'vendor' THEN vendors ELSE [] END,
        a // 10000000
    ),
    currency, txn_currency, coalesce(rates.rate, 1),
    made,
    CASE
        WHEN c % 10 < 7 THEN made
        ELSE greatest(made, least(day + ((c // 10) % 5)::INTEGER, $last_of_all)
            + INTERVAL 7 HOUR + to_seconds(((c // 50) % $working_seconds)::BIGINT))
    END,
    CASE WHEN (c // 10000000) % 4 = 0 THEN 1 ELSE user_key END
FROM placed
JOIN patterns USING (pattern)
LEFT JOIN rates
    ON rates.base = currency AND rates.txn = txn_currency AND rates.month = date_trunc('month', day)
