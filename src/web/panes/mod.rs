//! The four panes: Credentials, Details, Scheduling, Name & Describe Your DataSet. One component makes a DataSet and changes it later.
