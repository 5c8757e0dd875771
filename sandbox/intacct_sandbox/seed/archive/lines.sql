-- The lines of some entries: debits first. Each side comes to the same, in the currency of the
-- transaction and in that of the books.
INSERT INTO scratch.line
WITH numbered AS (
    SELECT
        *,
        unnest(range(0, debits + credits)) AS before,
        (cents * rate)::DECIMAL(18, 0)::BIGINT AS base_cents
    FROM scratch.entry
    WHERE key BETWEEN $first_entry AND $last_entry
),
sided AS (
    SELECT
        *,
        before < debits AS is_debit,
        CASE WHEN before < debits THEN before ELSE before - debits END AS before_it,
        CASE WHEN before < debits THEN debits ELSE credits END AS parts,
        chance('line', first_line + before) AS a
    FROM numbered
),
ended AS (
    SELECT
        *,
        cut(cents, before_it, parts, chance(CASE WHEN is_debit THEN 'debit' ELSE 'credit' END,
            key * 100 + before_it)) + before_it AS so_far,
        cut(cents, before_it + 1, parts, chance(CASE WHEN is_debit THEN 'debit' ELSE 'credit' END,
            key * 100 + before_it + 1)) + before_it + 1 AS then_so_far
    FROM sided
)
SELECT
    first_line + before,
    key,
    before + 1,
    CASE WHEN is_debit THEN 'debit' ELSE 'credit' END,
    ((then_so_far - so_far) * 0.01)::DECIMAL(18, 2),
    (((base_cents * then_so_far // cents) - (base_cents * so_far // cents)) * 0.01)::DECIMAL(18, 2),
    any_of(CASE WHEN is_debit THEN patterns.debit_accounts ELSE patterns.credit_accounts END, a),
    any_of($departments, a // 1000)
FROM ended
JOIN patterns USING (pattern)
