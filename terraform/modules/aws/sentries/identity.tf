# The instance's identity, and nothing beyond it. With aws-document the role has no policy at all: there is a role only because the
# account's defaults may hang one on an instance that has none.

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "own_identity" {
  count = var.proof == "aws-sts" ? 1 : 0

  # Tokens of its own identity, for the enrolment in a Picket mesh and for nothing else.
  statement {
    actions   = ["sts:GetWebIdentityToken"]
    resources = ["*"]

    condition {
      test     = "ForAllValues:StringLike"
      variable = "sts:IdentityTokenAudience"
      values   = ["picket://*/enroll/*"]
    }
  }
}

resource "aws_iam_role" "this" {
  # Not a prefix: the rule of who may join names it.
  name               = "${local.prefix}-sentry-${local.region}"
  description        = "Picket sentries; has no rights beyond its own identity"
  assume_role_policy = data.aws_iam_policy_document.assume.json
  tags               = local.tags
}

resource "aws_iam_role_policy" "own_identity" {
  count = var.proof == "aws-sts" ? 1 : 0

  role   = aws_iam_role.this.id
  policy = data.aws_iam_policy_document.own_identity[0].json
}

resource "aws_iam_instance_profile" "this" {
  name_prefix = "${local.prefix}-"
  role        = aws_iam_role.this.name
  tags        = local.tags
}
