package main

// operations are all things that an administration command can have done to a
// store, by the name used on the control socket.
var operations = map[string]operation{
	"user.add":         op(addUser),
	"user.list":        op(listUsers),
	"user.passwd":      op(setPassword),
	"user.active":      op(setActive),
	"user.remove":      op(removeUser),
	"token.create":     op(createToken),
	"token.list":       op(listTokens),
	"token.revoke":     op(revokeToken),
	"token.system":     op(showSystemToken),
	"project.create":   op(createProject),
	"share.grant":      op(grantAccess),
	"share.revoke":     op(revokeAccess),
	"share.list":       op(listAccess),
	"ls":               op(listDirectory),
	"import":           op(importTree),
	"export":           op(exportTree),
	"cluster.copy":     op(copyCluster),
	"stat":             op(storeFigures),
	"stat.collection":  op(collectionFigures),
	"versions.list":    op(listVersions),
	"versions.restore": op(restoreVersion),
	"trash.list":       op(listTrash),
	"trash.restore":    op(restoreTrash),
	"trash.delete":     op(deleteTrash),
	"locks.list":       op(listLocks),
	"locks.break":      op(breakLock),
	"fsck":             op(checkStore),
	"gc":               op(collectGarbage),
}
