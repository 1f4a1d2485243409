-- Statements that the command runs through psql on its embedded server; `:'name'` is a variable of psql.

-- name: find_database
-- One row if the stack's database exists.
SELECT d.datname FROM pg_catalog.pg_database AS d WHERE d.datname = :'database';

-- name: create_database
-- Makes the stack's database, empty.
CREATE DATABASE :"database" TEMPLATE template0;

-- name: admit_role
-- Gives the services' role the password it signs in with.
ALTER ROLE :"role" PASSWORD :'password';
