-- A row is a document whose lines an entity has read, also under an id that it had before.
(
    SELECT DISTINCT documents.key
    FROM {{documents}} AS documents
    LEFT JOIN warehouse.meta.entities AS named ON named.entity = documents._entity
    WHERE coalesce(named.name, documents._entity) = {{entity}}
)
