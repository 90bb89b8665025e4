"""Pages over the database and the products: the same templates for a folder of files and for a server."""
