"""PostgreSQL keeps the tasks: stateless nodes over one database. See DESIGN.md beside this file."""
