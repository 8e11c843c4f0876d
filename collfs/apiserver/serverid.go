package apiserver

import "keepdav/collfs"

// ServerID returns what the server calls a record: what another process knows it by.
func (c *Catalog) ServerID(id collfs.UUID) collfs.UUID { return collfs.UUID(c.realID(id)) }
