package davfs_test

import "testing"

// TestOnSQLite runs the tests of the site again, over the catalog that it has in
// life.
func TestOnSQLite(t *testing.T) {
	for name, test := range map[string]func(*testing.T){
		"TransfersIntoItselfByAnotherName":                TestTransfersIntoItselfByAnotherName,
		"SideStore":                                       TestSideStore,
		"RootShowsTheFolders":                             TestRootShowsTheFolders,
		"FoldersAboveProjectsAreReadOnly":                 TestFoldersAboveProjectsAreReadOnly,
		"ByIDResolvesWhatHasAnID":                         TestByIDResolvesWhatHasAnID,
		"ContentIsFoundByItsHash":                         TestContentIsFoundByItsHash,
		"MetaFilesShowRecords":                            TestMetaFilesShowRecords,
		"RemoveOfACollectionTrashesIt":                    TestRemoveOfACollectionTrashesIt,
		"RemoveOfAProjectTrashesIt":                       TestRemoveOfAProjectTrashesIt,
		"RecordsMoveBetweenProjects":                      TestRecordsMoveBetweenProjects,
		"MoveOverARecordTrashesIt":                        TestMoveOverARecordTrashesIt,
		"DirectoryMovedIntoAProjectBecomesACollection":    TestDirectoryMovedIntoAProjectBecomesACollection,
		"CollectionMovedIntoACollectionBecomesADirectory": TestCollectionMovedIntoACollectionBecomesADirectory,
		"MovesBetweenCollections":                         TestMovesBetweenCollections,
		"ProjectsAreCopiedWhole":                          TestProjectsAreCopiedWhole,
		"FilesInAProjectAreLoose":                         TestFilesInAProjectAreLoose,
		"LooseFileHasOnePlaceBeforeAndAfterItIsMade":      TestLooseFileHasOnePlaceBeforeAndAfterItIsMade,
		"RecordsComeBeforeLooseFiles":                     TestRecordsComeBeforeLooseFiles,
		"CollectionCalledLooseFilesIsTheUsers":            TestCollectionCalledLooseFilesIsTheUsers,
		"ConcurrentFirstFilesOfAProjectShareACollection":  TestConcurrentFirstFilesOfAProjectShareACollection,
		"WhatMayNotBeReadDoesNotExist":                    TestWhatMayNotBeReadDoesNotExist,
		"GrantsActAtTheirLevel":                           TestGrantsActAtTheirLevel,
		"RevokedGrantActsWithinSeconds":                   TestRevokedGrantActsWithinSeconds,
		"ChangesByOthersAreSeen":                          TestChangesByOthersAreSeen,
		"NamesOfRecordsFold":                              TestNamesOfRecordsFold,
		"NamesAreRespelled":                               TestNamesAreRespelled,
		"CaseFoldsForWindowsOnly":                         TestCaseFoldsForWindowsOnly,
		"UsageCountsTheCollection":                        TestUsageCountsTheCollection,
		"AppleLitterStaysOutOfCollections":                TestAppleLitterStaysOutOfCollections,
		"AppleLitterFollowsItsFile":                       TestAppleLitterFollowsItsFile,
		"AppleLitterMovesByItself":                        TestAppleLitterMovesByItself,
		"ApplePolicies":                                   TestApplePolicies,
		"Contract":                                        TestContract,
		"ContractAtTheRootOfACollection":                  TestContractAtTheRootOfACollection,
		"ContractThroughByID":                             TestContractThroughByID,
		"ContractInAProject":                              TestContractInAProject,
		"ConcurrentMovesLoseNothing":                      TestConcurrentMovesLoseNothing,
		"CancelledUploadIsAborted":                        TestCancelledUploadIsAborted,
		"ConcurrentPutsAndRemovesTellTheTruth":            TestConcurrentPutsAndRemovesTellTheTruth,
		"StockHandlerLinksNoCutUpload":                    TestStockHandlerLinksNoCutUpload,
		"StockHandlerAnswers":                             TestStockHandlerAnswers,
		"WebDAVFileWritesInPlace":                         TestWebDAVFileWritesInPlace,
		"TreeIsAValidIOFS":                                TestTreeIsAValidIOFS,
		"SiteIsAPlainTree":                                TestSiteIsAPlainTree,
		"RecordThatWasMovedAwayMeanwhileStaysThere":       TestRecordThatWasMovedAwayMeanwhileStaysThere,
		"SharesOfOneNameAreToldApart":                     TestSharesOfOneNameAreToldApart,
		"FileMovedToTheNameOfAppleLitterIsKept":           TestFileMovedToTheNameOfAppleLitterIsKept,
		"ReaderChangesNothingByAnyName":                   TestReaderChangesNothingByAnyName,
		"UploadEndsWithTheGrantThatItBeganUnder":          TestUploadEndsWithTheGrantThatItBeganUnder,
	} {
		t.Run(name, test)
	}
}
