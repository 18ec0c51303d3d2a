module example.com/hearth

go 1.19
