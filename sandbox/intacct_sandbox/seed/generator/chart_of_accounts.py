"""The company's general ledger accounts and journals."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Account:
    """An account: number, name, category, and whether postings need a department."""

    id: str
    name: str
    category: str
    needs_department: bool = False

    @property
    def is_income_statement(self) -> bool:
        """Revenue and expense; assets, liabilities and equity are not."""
        return self.id >= "40000"

    @property
    def is_credit(self) -> bool:
        """Whether the account normally stands in credit."""
        return "20000" <= self.id < "50000" or "Accumulated" in self.name


_ACCOUNTS = """
10010 | Operating Account               | Cash and Cash Equivalents
10020 | Payroll Account                 | Cash and Cash Equivalents
10030 | Tax Reserve Account             | Cash and Cash Equivalents
10040 | Petty Cash                      | Cash and Cash Equivalents
10100 | Undeposited Funds               | Cash and Cash Equivalents
12000 | Accounts Receivable             | Accounts Receivable
12100 | Unbilled Receivable             | Accounts Receivable
12200 | Allowance for Doubtful Accounts | Accounts Receivable
12500 | Employee Advances               | Other Current Assets
13000 | Inventory                       | Inventory
14000 | Prepaid Expenses                | Prepaid Expenses
14100 | Prepaid Insurance               | Prepaid Expenses
14200 | Prepaid Software                | Prepaid Expenses
15000 | Computer Equipment              | Fixed Assets
15100 | Furniture and Fixtures          | Fixed Assets
15200 | Leasehold Improvements          | Fixed Assets
15500 | Accumulated Depreciation, Computers    | Accumulated Depreciation
15510 | Accumulated Depreciation, Furniture    | Accumulated Depreciation
15520 | Accumulated Depreciation, Improvements | Accumulated Depreciation
16200 | Patents and Licences            | Intangible Assets
17000 | Other Assets                    | Other Assets
18000 | Due from Affiliates             | Intercompany Receivable
20000 | Accounts Payable                | Accounts Payable
20100 | Accrued Expenses                | Other Current Liabilities
20200 | Accrued Payroll                 | Other Current Liabilities
20300 | Payroll Taxes Payable           | Other Current Liabilities
20400 | Sales Tax Payable               | Other Current Liabilities
20500 | Credit Card Clearing            | Other Current Liabilities
20800 | Other Payables                  | Other Current Liabilities
21000 | Deferred Revenue                | Deferred Revenue
22000 | Customer Deposits               | Other Current Liabilities
25000 | Long-term Debt                  | Long Term Liabilities
28000 | Due to Affiliates               | Intercompany Payable
30100 | Common Stock                    | Common Stock
35000 | Retained Earnings               | Retained Earnings
40100 | Consulting Revenue              | Services Revenue        | department
40200 | Implementation Revenue          | Services Revenue        | department
40300 | Subscription Revenue            | Subscription Revenue
40400 | Support Revenue                 | Subscription Revenue
40500 | Training Revenue                | Services Revenue
40600 | Licence Revenue                 | Licence Revenue
40900 | Discounts Given                 | Contra Revenue
42000 | Reimbursed Expenses             | Other Revenue
50100 | Cost of Consulting              | Cost of Services        | department
50200 | Cost of Hosting                 | Cost of Subscription
50300 | Cost of Support                 | Cost of Subscription
50400 | Cost of Licences                | Cost of Licences
51700 | Subcontractors                  | Cost of Services
60100 | Salaries and Wages              | Salaries Expense        | department
60110 | Employee Benefits               | Benefit Expense
60120 | Commissions                     | Commission Expense
60130 | Payroll Taxes                   | Payroll Tax Expense
60150 | Bonuses                         | Bonus Expense
60200 | Recruiting                      | Recruiting Expense
60300 | Rent                            | Rent Expense
60310 | Utilities                       | Utilities Expense
60320 | Telephone and Internet          | Telephone Expense
60340 | Office Supplies                 | Office Supplies Expense
60350 | Postage and Courier             | Office Supplies Expense
60400 | Software Subscriptions          | Software Expense
60410 | Cloud Services                  | Software Expense
60500 | Travel, Air                     | Travel Expense
60510 | Travel, Lodging                 | Travel Expense
60520 | Meals and Entertainment         | Travel Expense
60600 | Bank Charges                    | Finance Charges Expense
60610 | Interest Expense                | Interest Expense
60620 | Exchange Gain and Loss          | Exchange Gain and Loss
60700 | Legal Fees                      | Professional Fees
60710 | Accounting Fees                 | Professional Fees
60720 | Consulting Fees                 | Professional Fees
60800 | Advertising                     | Marketing Expense
60810 | Events and Trade Shows          | Marketing Expense
60900 | Insurance                       | Insurance Expense
61000 | Depreciation                    | Depreciation Expense
61100 | Amortization                    | Amortization Expense
61200 | Equipment Lease                 | Lease Expense
61300 | Repairs and Maintenance         | Repairs Expense
61400 | Training of Staff               | Training Expense
61500 | Licences and Permits            | Other Expense
62000 | Bad Debt                        | Bad Debt Expense
63000 | Charitable Giving               | Other Expense
70100 | Corporate Income Tax            | Tax Expense
70200 | Other Income                    | Other Income
70300 | Other Expense                   | Other Expense
"""


def _read(line: str) -> Account:
    number, name, category, *needs = (part.strip() for part in line.split("|"))
    return Account(number, name, category, needs_department=needs == ["department"])


ACCOUNTS = tuple(_read(line) for line in _ACCOUNTS.strip().splitlines())
"""In the order of their numbers."""

JOURNALS = (
    ("GJ", "General Journal"),
    ("PYRL", "Payroll Journal"),
    ("ADJ", "Adjustments"),
    ("CRJ", "Cash Receipts Journal"),
    ("CDJ", "Cash Disbursements Journal"),
    ("FAJ", "Fixed Assets Journal"),
    ("REV", "Revenue Recognition"),
    ("IEJ", "Inter-entity Journal"),
)
"""Symbol and name."""

DEPARTMENTS = (
    ("100", "Executive", None),
    ("200", "Sales", None),
    ("210", "Field Sales", "200"),
    ("220", "Inside Sales", "200"),
    ("300", "Professional Services", None),
    ("310", "Consulting", "300"),
    ("320", "Implementation", "300"),
    ("330", "Training", "300"),
    ("400", "Engineering", None),
    ("410", "Product", "400"),
    ("500", "Customer Support", None),
    ("600", "Finance", None),
    ("700", "People", None),
    ("800", "Marketing", None),
)
"""Number, name and the department above."""

REVENUE_WITH_DEPARTMENT = tuple(
    one.id for one in ACCOUNTS if one.needs_department and "40000" <= one.id < "50000"
)
"""Revenue accounts that reject a line without a department."""

REVENUE_WITHOUT = ("40300", "40400", "40500", "40600")
"""Revenue accounts that take one."""

BILLED_EXPENSES = (
    *("51700", "60300", "60310", "60320", "60340", "60350", "60400", "60410", "60500", "60510"),
    *("60700", "60720", "60800", "60810", "60900", "61200", "61300", "61400"),
)
"""Accounts that bills are booked to."""

DELIVERING_DEPARTMENTS = ("310", "320", "330", "500")
"""Departments that earn revenue."""
