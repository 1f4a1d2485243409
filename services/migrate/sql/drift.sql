-- What a schema consists of, and how it was when it was last right.

-- name: objects
-- Every object of the schemas $1 with a digest of its definition. A table's parts are named behind it, so that a table that
-- is gone is one loss, not twenty. Names in definitions are qualified when search_path is empty, so the caller empties it.
-- Objects of extensions are left out, as are indexes that belong to a constraint and constraints NOT NULL, which are columns'.
WITH schemas AS (
    SELECT oid, nspname AS name FROM pg_catalog.pg_namespace WHERE nspname = ANY ($1::text[])
), relations AS (
    SELECT c.*, s.name || '.' || c.relname AS name
      FROM pg_catalog.pg_class AS c JOIN schemas AS s ON s.oid = c.relnamespace
     WHERE NOT EXISTS (
               SELECT FROM pg_catalog.pg_depend AS d
                WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
           )
), defined AS (
    SELECT CASE r.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'view' WHEN 'S' THEN 'sequence' ELSE 'table' END AS kind,
           r.name,
           concat_ws(' ', r.relkind, r.relpersistence, r.relrowsecurity, r.relforcerowsecurity,
                     CASE WHEN r.relkind IN ('v', 'm') THEN pg_catalog.pg_get_viewdef(r.oid) END) AS definition
      FROM relations AS r
     WHERE r.relkind IN ('r', 'p', 'f', 'v', 'm', 'S')
    UNION ALL
    SELECT 'column', r.name || '.' || a.attname,
           concat_ws(' ', pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,
                     pg_catalog.pg_get_expr(d.adbin, d.adrelid))
      FROM relations AS r
      JOIN pg_catalog.pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
      LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = r.oid AND d.adnum = a.attnum
     WHERE r.relkind IN ('r', 'p', 'f', 'c')
    UNION ALL
    SELECT 'constraint', r.name || '.' || k.conname,
           concat_ws(' ', pg_catalog.pg_get_constraintdef(k.oid), k.convalidated)
      FROM relations AS r JOIN pg_catalog.pg_constraint AS k ON k.conrelid = r.oid
     WHERE k.contype <> 'n'
    UNION ALL
    SELECT 'index', r.name || '.' || c.relname, concat_ws(' ', pg_catalog.pg_get_indexdef(i.indexrelid), i.indisvalid)
      FROM relations AS r
      JOIN pg_catalog.pg_index AS i ON i.indrelid = r.oid
      JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
     WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_constraint AS k WHERE k.conindid = i.indexrelid)
    UNION ALL
    SELECT 'trigger', r.name || '.' || t.tgname, concat_ws(' ', pg_catalog.pg_get_triggerdef(t.oid), t.tgenabled)
      FROM relations AS r JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = r.oid
     WHERE NOT t.tgisinternal
    UNION ALL
    SELECT 'policy', r.name || '.' || p.polname,
           concat_ws(' ', p.polcmd, p.polpermissive, pg_catalog.pg_get_expr(p.polqual, p.polrelid),
                     pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid),
                     (SELECT string_agg(coalesce(m.rolname, 'public'), ',' ORDER BY m.rolname)
                        FROM unnest(p.polroles) AS who LEFT JOIN pg_catalog.pg_roles AS m ON m.oid = who))
      FROM relations AS r JOIN pg_catalog.pg_policy AS p ON p.polrelid = r.oid
    UNION ALL
    SELECT 'function',
           s.name || '.' || f.proname || '(' || pg_catalog.pg_get_function_identity_arguments(f.oid) || ')',
           CASE WHEN f.prokind IN ('f', 'p') THEN pg_catalog.pg_get_functiondef(f.oid) ELSE f.prosrc END
      FROM pg_catalog.pg_proc AS f JOIN schemas AS s ON s.oid = f.pronamespace
     WHERE NOT EXISTS (
               SELECT FROM pg_catalog.pg_depend AS d
                WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = f.oid AND d.deptype = 'e'
           )
    UNION ALL
    SELECT 'type', s.name || '.' || t.typname,
           concat_ws(' ', t.typtype, pg_catalog.format_type(t.typbasetype, t.typtypmod), t.typnotnull, t.typdefault,
                     (SELECT string_agg(e.enumlabel, ',' ORDER BY e.enumsortorder)
                        FROM pg_catalog.pg_enum AS e WHERE e.enumtypid = t.oid),
                     (SELECT string_agg(pg_catalog.pg_get_constraintdef(k.oid), ',' ORDER BY k.conname)
                        FROM pg_catalog.pg_constraint AS k WHERE k.contypid = t.oid AND k.contype <> 'n'))
      FROM pg_catalog.pg_type AS t
      JOIN schemas AS s ON s.oid = t.typnamespace
      LEFT JOIN relations AS r ON r.oid = t.typrelid
     WHERE (t.typtype IN ('e', 'd', 'r') OR (t.typtype = 'c' AND r.relkind = 'c'))
       AND NOT EXISTS (
               SELECT FROM pg_catalog.pg_depend AS d
                WHERE d.classid = 'pg_catalog.pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e'
           )
)
SELECT kind || ' ' || name AS object, md5(string_agg(definition, E'\n' ORDER BY definition)) AS digest
  FROM defined
 GROUP BY kind, name
 ORDER BY kind || ' ' || name;

-- name: empty_search_path
-- Until the end of the transaction, definitions name the schema of everything.
SELECT set_config('search_path', '', true);

-- name: major_version
-- The server's major version: another one may word the same definition differently.
SELECT current_setting('server_version_num')::integer / 10000;

-- name: create_table
-- The schema as it should be, in one line: what its objects were when the list of what was applied was as `history` says.
CREATE TABLE IF NOT EXISTS supabase_migrations.schema_reference (
    only_line boolean PRIMARY KEY DEFAULT true CHECK (only_line),
    taken_at timestamptz NOT NULL,
    history text NOT NULL,
    server_major integer NOT NULL,
    objects jsonb NOT NULL
);

-- name: exists
-- Whether there is a place for the reference.
SELECT to_regclass('supabase_migrations.schema_reference') IS NOT NULL;

-- name: read
-- The schema as it should be, if it was noted for list $1 on a server of major version $2.
SELECT objects FROM supabase_migrations.schema_reference WHERE history = $1::text AND server_major = $2::integer;

-- name: write
-- With list $1, on a server of major version $2, the schema should be $3.
INSERT INTO supabase_migrations.schema_reference AS known (history, server_major, objects, taken_at)
VALUES ($1::text, $2::integer, $3::jsonb, clock_timestamp())
ON CONFLICT (only_line) DO UPDATE
   SET history = excluded.history, server_major = excluded.server_major, objects = excluded.objects, taken_at = excluded.taken_at;
