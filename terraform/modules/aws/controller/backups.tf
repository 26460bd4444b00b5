# Backups of database and CA. The controller may add to the bucket, not read or delete: who takes the instance over does not get
# the backups too.

resource "aws_s3_bucket" "backups" {
  # checkov:skip=CKV2_AWS_62:nobody waits for a backup
  # checkov:skip=CKV_AWS_144:another region is the operator's choice, and a rule of their own on this bucket
  # checkov:skip=CKV_AWS_18:one writer, which may only add; CloudTrail has data events where they are wanted
  count = var.backup_days == 0 ? 0 : 1

  bucket_prefix = "${var.name}-backups-"
  force_destroy = !var.deletion_protection
  tags          = local.tags
}

resource "aws_s3_bucket_public_access_block" "backups" {
  count = var.backup_days == 0 ? 0 : 1

  bucket                  = aws_s3_bucket.backups[0].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_versioning" "backups" {
  count = var.backup_days == 0 ? 0 : 1

  bucket = aws_s3_bucket.backups[0].id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "backups" {
  count = var.backup_days == 0 ? 0 : 1

  bucket = aws_s3_bucket.backups[0].id

  rule {
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = var.kms_key_arn
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "backups" {
  count = var.backup_days == 0 ? 0 : 1

  bucket = aws_s3_bucket.backups[0].id

  rule {
    id     = "expire"
    status = "Enabled"

    filter {}

    expiration {
      days = var.backup_days
    }

    noncurrent_version_expiration {
      noncurrent_days = 7
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }

  depends_on = [aws_s3_bucket_versioning.backups]
}

data "aws_iam_policy_document" "backups" {
  count = var.backup_days == 0 ? 0 : 1

  statement {
    sid       = "EncryptedTransportOnly"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.backups[0].arn, "${aws_s3_bucket.backups[0].arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_s3_bucket_policy" "backups" {
  count = var.backup_days == 0 ? 0 : 1

  bucket = aws_s3_bucket.backups[0].id
  policy = data.aws_iam_policy_document.backups[0].json

  depends_on = [aws_s3_bucket_public_access_block.backups]
}
