from leads.cli import main

main()
